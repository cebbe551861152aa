/** Layer 3: compares what a model computes here with what was recorded elsewhere. */
package org.mixedgpu.nn.verify;
