/** The command line of spark-cake: parses, calls, prints. No Spark. */
package org.mixedgpu.cake.cli;
