/**
 * Layer 4: which task computes which prompts in which order, what is worth writing, and which
 * chunks of a prompt are worth reading. Pure functions of facts: no tensors, no I/O, no clock, no
 * Spark.
 */
package org.mixedgpu.cake.plan;
