package org.mixedgpu.io;

/**
 * A published file.
 *
 * @param path opens it
 * @param name the last part of the path
 * @param bytes its size
 * @param modifiedMillis when it was last written, since 1970, by the file system's clock
 */
public record FileEntry(String path, String name, long bytes, long modifiedMillis) {}
