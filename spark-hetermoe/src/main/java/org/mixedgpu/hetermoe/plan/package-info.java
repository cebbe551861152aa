/**
 * Layer 4: plans of a training run and predictions of their timelines. Pure functions of facts: no
 * tensors, no input or output, no clock.
 */
package org.mixedgpu.hetermoe.plan;
