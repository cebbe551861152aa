/** Layer 1: shapes, element types, tensors, host memory. The only importer of Arrow's memory. */
package org.mixedgpu.tensor;
