/** Layer 2: makes a backend as slow as an older generation would be, with the same results. */
package org.mixedgpu.backend.emulated;
