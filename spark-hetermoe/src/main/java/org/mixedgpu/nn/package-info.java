/**
 * Layer 3: decoder-only transformers, dense and mixture of experts, forward and backward, in terms
 * of {@code Backend}. No Spark, no Hadoop.
 */
package org.mixedgpu.nn;
