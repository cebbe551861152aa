/**
 * Layer 6: runs a gang, that is a fixed number of attention and expert members that live at the
 * same time on executors of two kinds, find each other, and succeed or fail together.
 */
package org.mixedgpu.hetermoe.spark.gang;
