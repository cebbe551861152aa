package org.mixedgpu.io;

import java.util.List;
import java.util.OptionalLong;

/**
 * Files that are written once and then only read. Paths are text as Hadoop reads it: with a scheme
 * ({@code hdfs://host:port/a}, {@code file:/a}) or without one, where the default file system of
 * the store's settings is meant.
 *
 * <p>A file appears whole or not at all: {@link #create} writes under a temporary name and {@link
 * NewFile#publish} renames it in one atomic step that never replaces a file (HDFS and local disks;
 * other Hadoop file systems are as atomic as their rename). Absence is not an error except in
 * {@link #open}. Every other failure is a {@code MixedGpuException}: {@code BAD_INPUT} for a path
 * that can't be what is asked for or may not be touched, {@code MISSING} for a file or a store that
 * isn't there, {@code EXHAUSTED} for a full disk, {@code UNKNOWN_OUTCOME} where a change may or may
 * not have happened. Any thread may call any method.
 */
public interface FileStore {

  /** Opens a file for reading; {@code MISSING} where there is none. The caller closes it. */
  RangeReader open(String path);

  /**
   * Starts a file, and creates missing folders above it. Nothing is visible under this path until
   * {@link NewFile#publish}. A process that dies in between leaves a hidden file {@code
   * .NAME.UUID.tmp} beside it, which nothing reads and anybody may delete. The caller closes it.
   */
  NewFile create(String path);

  /**
   * Files directly in a folder, by name; without sub-folders and unpublished files. Empty where the
   * folder does not exist. Not a snapshot: a file published or deleted meanwhile may or may not be
   * in it.
   */
  List<FileEntry> list(String folder);

  /** Size in bytes of a file; empty where there is none, or a folder. */
  OptionalLong size(String path);

  /** Whether there is a file of this name; false for a folder. */
  default boolean exists(String path) {
    return size(path).isPresent();
  }

  /** Deletes a file; false where there was none. Never a folder. Readers of it may fail. */
  boolean delete(String path);

  /** The path of a file in a folder, by name; the name may itself hold folders. */
  static String in(String folder, String name) {
    return folder.endsWith("/") ? folder + name : folder + "/" + name;
  }
}
