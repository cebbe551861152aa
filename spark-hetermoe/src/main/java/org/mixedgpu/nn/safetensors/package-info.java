/** Layer 3: the safetensors file format, read and written tensor by tensor. */
package org.mixedgpu.nn.safetensors;
