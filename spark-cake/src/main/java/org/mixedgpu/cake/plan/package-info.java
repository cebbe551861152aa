/**
 * Layer 4: which task computes which prompts in which order, and what is worth writing. Pure
 * functions of integers: no tensors, no I/O, no clock, no Spark.
 */
package org.mixedgpu.cake.plan;
