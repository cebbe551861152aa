/**
 * Layer 5: trains a model, in one process or zebra-parallel over an exchange. It executes a plan
 * and decides nothing. No Spark.
 */
package org.mixedgpu.hetermoe.train;
