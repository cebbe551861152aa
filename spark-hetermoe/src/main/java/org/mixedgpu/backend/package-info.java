/** Layer 2: arithmetic on one device behind one interface; implementations in sub-packages. */
package org.mixedgpu.backend;
