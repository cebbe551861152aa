/**
 * Layer 1: which GPUs exist, what a card can do, and what is in this machine. Facts with units and
 * sources; no decisions.
 */
package org.mixedgpu.device;
