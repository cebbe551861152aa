/**
 * The first thing a newcomer runs: a whole cluster on one machine, a training run and a prefill run
 * on real text, and a report. Calls the public API only.
 */
package org.mixedgpu.cake.quickstart;
