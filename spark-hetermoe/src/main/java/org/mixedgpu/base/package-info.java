/** Layer 0: faults, checks, config entries and units. Imports the JDK only. */
package org.mixedgpu.base;
