/** Layer 2: the host processor. Native BLAS by JNA; everything else is Java. */
package org.mixedgpu.backend.cpu;
