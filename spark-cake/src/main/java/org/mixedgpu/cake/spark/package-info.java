/**
 * Layer 6: prefill as an MLlib Transformer. With the command line's jobs the only importer of Spark
 * in this module.
 */
package org.mixedgpu.cake.spark;
