/** Layer 4: what a piece of KV cache is and how it is called. No files, no Spark. */
package org.mixedgpu.cake.key;
