/** Layer 1: files on any Hadoop file system. The only importer of {@code org.apache.hadoop}. */
package org.mixedgpu.io;
