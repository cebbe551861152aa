/** Layer 3: text to token ids and back. The only importer of the tokenizer library. */
package org.mixedgpu.nn.tokenizer;
