/** Layer 3: Hugging Face model folders: config.json and safetensors files, read and written. */
package org.mixedgpu.nn.checkpoint;
