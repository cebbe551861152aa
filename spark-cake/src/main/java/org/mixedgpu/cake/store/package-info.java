/**
 * Layer 4: KV chunks in bundles, which are Arrow IPC files; FORMAT.md specifies the bytes. Damaged,
 * missing or late is a miss with a reason, never other bytes. May not import Spark, nor plan.
 */
package org.mixedgpu.cake.store;
