/**
 * Layer 6: the exchange between processes, on the network layer that Spark itself uses. Peers
 * always authenticate with the secret of their run.
 */
package org.mixedgpu.hetermoe.spark.exchange;
