/** Layer 4: how members of a gang move tensors. No Spark: its transport is in hetermoe.spark. */
package org.mixedgpu.hetermoe.exchange;
