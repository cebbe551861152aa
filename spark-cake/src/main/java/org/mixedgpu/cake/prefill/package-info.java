/**
 * Layer 5: runs a prompt's prefill from both ends: computes from the front while the back is
 * loaded. Knows models, backends and the store; may not import Spark, nor training.
 */
package org.mixedgpu.cake.prefill;
