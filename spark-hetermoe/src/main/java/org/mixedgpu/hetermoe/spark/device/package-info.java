/** Layer 6: tells Spark which GPUs an executor or Worker has, by generation. */
package org.mixedgpu.hetermoe.spark.device;
