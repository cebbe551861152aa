/** Layer 5: compares a training run with one that was recorded elsewhere. No Spark. */
package org.mixedgpu.hetermoe.train.verify;
