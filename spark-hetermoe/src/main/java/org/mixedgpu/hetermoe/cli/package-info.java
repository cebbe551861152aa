/** The command line of spark-hetermoe: parses, calls, prints. No Spark. */
package org.mixedgpu.hetermoe.cli;
