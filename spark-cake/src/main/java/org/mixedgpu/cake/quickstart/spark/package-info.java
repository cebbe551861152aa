/** The quick start's Spark application: training and prefill through the public classes. */
package org.mixedgpu.cake.quickstart.spark;
