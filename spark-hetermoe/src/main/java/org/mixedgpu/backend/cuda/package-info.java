/**
 * The backend for NVIDIA GPUs. JCuda drives the device; JNA calls what JCuda lacks (cuBLASLt,
 * NVRTC, memory pools, tensor maps) or is slow at (launches). The only importer of JCuda, and
 * nothing else knows device addresses. Kernels are the {@code .cu} resources of {@code
 * org.mixedgpu.kernels}.
 */
package org.mixedgpu.backend.cuda;
