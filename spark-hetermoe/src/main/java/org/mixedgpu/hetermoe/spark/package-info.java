/** Layer 6: what a Spark user meets. The only packages that import Spark are this and below. */
package org.mixedgpu.hetermoe.spark;
