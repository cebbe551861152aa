package org.mixedgpu.io;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileAlreadyExistsException;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Options;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Writes to a hidden temporary file beside the target. */
final class HadoopNewFile implements NewFile {
  private static final int COPY_BYTES = 1 << 20;

  private final FileSystem files;
  private final Path target;
  private final Path temporary;
  private final FSDataOutputStream out;
  private long position;
  private boolean open = true;

  HadoopNewFile(FileSystem files, Path target, Path temporary, FSDataOutputStream out) {
    this.files = files;
    this.target = target;
    this.temporary = temporary;
    this.out = out;
  }

  @Override
  public String path() {
    return target.toString();
  }

  @Override
  public long position() {
    return position;
  }

  @Override
  public boolean isOpen() {
    return open;
  }

  @Override
  public int write(ByteBuffer from) {
    Check.that(open, "%s is closed and can't be written", target);
    int count = from.remaining();
    try {
      if (from.hasArray()) {
        out.write(from.array(), from.arrayOffset() + from.position(), count);
        from.position(from.limit());
      } else {
        byte[] buffer = new byte[Math.min(COPY_BYTES, count)];
        while (from.hasRemaining()) {
          int part = Math.min(buffer.length, from.remaining());
          from.get(buffer, 0, part);
          out.write(buffer, 0, part);
        }
      }
    } catch (IOException e) {
      throw HadoopFaults.of("write", target, e);
    }
    position += count;
    return count;
  }

  @Override
  public boolean publish() {
    Check.that(open, "%s is closed and can't be published", target);
    boolean published;
    try {
      published = sealAndRename();
    } catch (RuntimeException e) {
      try {
        discard();
      } catch (RuntimeException alsoFailed) {
        e.addSuppressed(alsoFailed);
      }
      throw e;
    }
    if (!published) {
      discard();
    }
    return published;
  }

  private boolean sealAndRename() {
    boolean local = files instanceof RawLocalFileSystem;
    try {
      if (local) {
        // HDFS has all replicas when close returns; a local disk promises nothing before a sync.
        out.hsync();
      }
      open = false;
      out.close();
      return local ? link() : rename();
    } catch (IOException e) {
      return lookAfter(e);
    }
  }

  /** Plain renames of local files replace the target; making a hard link fails if there is one. */
  private boolean link() throws IOException {
    File from = ((RawLocalFileSystem) files).pathToFile(temporary);
    File to = ((RawLocalFileSystem) files).pathToFile(target);
    try {
      Files.createLink(to.toPath(), from.toPath());
    } catch (java.nio.file.FileAlreadyExistsException e) {
      return false;
    } catch (UnsupportedOperationException e) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          "Cannot publish "
              + target
              + ": its file system has no hard links, without which a file can't be published in"
              + " one step; choose a folder on another disk or on HDFS",
          e);
    }
    try {
      Files.deleteIfExists(from.toPath());
    } catch (IOException e) {
      // The file is published; its second, hidden name harms nobody.
      return true;
    }
    return true;
  }

  /**
   * HDFS has an atomic rename that fails where the target exists. Of other file systems only the
   * plain one is public, so there two writers of one path at the same moment are not told apart.
   */
  private boolean rename() throws IOException {
    if (files instanceof DistributedFileSystem hdfs) {
      try {
        hdfs.rename(temporary, target, Options.Rename.NONE);
        return true;
      } catch (FileAlreadyExistsException e) {
        return false;
      }
    }
    if (files.exists(target)) {
      return false;
    }
    if (!files.rename(temporary, target)) {
      throw new IOException("the file system refused to rename " + temporary);
    }
    return true;
  }

  /** Temporary names are unique: the temporary gone and the target there means that we did it. */
  private boolean lookAfter(IOException cause) {
    boolean temporaryThere;
    boolean targetThere;
    try {
      temporaryThere = files.exists(temporary);
      targetThere = files.exists(target);
    } catch (IOException e) {
      MixedGpuException unknown =
          new MixedGpuException(
              Fault.UNKNOWN_OUTCOME,
              "Publishing "
                  + target
                  + " failed and its file system can't be asked what happened; look whether the"
                  + " file is there before writing it again",
              cause);
      unknown.addSuppressed(e);
      throw unknown;
    }
    if (!temporaryThere && targetThere) {
      return true;
    }
    throw HadoopFaults.of("publish", target, cause);
  }

  private void discard() {
    List<IOException> failures = new ArrayList<>();
    if (open) {
      open = false;
      try {
        out.close();
      } catch (IOException e) {
        failures.add(e);
      }
    }
    try {
      files.delete(temporary, false /* recursive */);
    } catch (IOException e) {
      failures.add(e);
    }
    if (!failures.isEmpty()) {
      MixedGpuException failure = HadoopFaults.of("discard", temporary, failures.get(0));
      failures.stream().skip(1).forEach(failure::addSuppressed);
      throw failure;
    }
  }

  @Override
  public void close() {
    if (open) {
      discard();
    }
  }
}
