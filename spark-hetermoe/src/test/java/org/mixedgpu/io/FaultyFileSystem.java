package org.mixedgpu.io;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.net.URI;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.util.Progressable;

/**
 * A Hadoop file system that is neither HDFS nor {@code file:}: local files under another scheme,
 * whose renames can be made to fail.
 */
public final class FaultyFileSystem extends FileSystem {
  /** How the next rename fails. */
  enum Failure {
    NONE,
    BEFORE,
    AFTER,
    AFTER_AND_SILENT
  }

  static volatile Failure failure = Failure.NONE;

  /** Renames that failed since the test set this to 0. */
  static volatile int fired;

  private static volatile boolean silent;

  private final RawLocalFileSystem local = new RawLocalFileSystem();

  static void reset(Failure next) {
    failure = next;
    fired = 0;
    silent = false;
  }

  @Override
  public void initialize(URI name, Configuration conf) throws IOException {
    super.initialize(name, conf);
    setConf(conf);
    local.initialize(URI.create("file:///"), conf);
  }

  @Override
  public URI getUri() {
    return URI.create("faulty:///");
  }

  @Override
  public boolean rename(Path from, Path to) throws IOException {
    Failure now = failure;
    failure = Failure.NONE;
    if (now == Failure.BEFORE) {
      fired++;
      throw new IOException("injected");
    }
    boolean renamed = local.rename(local(from), local(to));
    if (now != Failure.NONE) {
      fired++;
      silent = now == Failure.AFTER_AND_SILENT;
      throw new IOException("injected");
    }
    return renamed;
  }

  @Override
  public FileStatus getFileStatus(Path path) throws IOException {
    if (silent) {
      throw new IOException("injected: no answer");
    }
    FileStatus status = local.getFileStatus(local(path));
    return foreign(status);
  }

  @Override
  public FileStatus[] listStatus(Path path) throws FileNotFoundException, IOException {
    FileStatus[] found = local.listStatus(local(path));
    for (int i = 0; i < found.length; i++) {
      found[i] = foreign(found[i]);
    }
    return found;
  }

  private static FileStatus foreign(FileStatus status) {
    String path = status.getPath().toUri().getPath();
    return new FileStatus(
        status.getLen(),
        status.isDirectory(),
        1,
        status.getBlockSize(),
        status.getModificationTime(),
        new Path("faulty", "", path));
  }

  private static Path local(Path path) {
    return new Path("file", "", path.toUri().getPath());
  }

  @Override
  public FSDataInputStream open(Path path, int bufferSize) throws IOException {
    return local.open(local(path), bufferSize);
  }

  @Override
  public FSDataOutputStream create(
      Path path,
      FsPermission permission,
      boolean overwrite,
      int bufferSize,
      short replication,
      long blockSize,
      Progressable progress)
      throws IOException {
    return local.create(local(path), overwrite, bufferSize, replication, blockSize, progress);
  }

  @Override
  public FSDataOutputStream append(Path path, int bufferSize, Progressable progress)
      throws IOException {
    throw new IOException("not used");
  }

  @Override
  public boolean delete(Path path, boolean recursive) throws IOException {
    return local.delete(local(path), recursive);
  }

  @Override
  public boolean mkdirs(Path path, FsPermission permission) throws IOException {
    return local.mkdirs(local(path), permission);
  }

  @Override
  public void setWorkingDirectory(Path folder) {}

  @Override
  public Path getWorkingDirectory() {
    return new Path("faulty:///");
  }
}
