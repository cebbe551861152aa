package org.mixedgpu.io;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.LocalFileSystem;
import org.apache.hadoop.fs.Path;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Files on any Hadoop file system: {@code hdfs:}, {@code file:} and what else the class path holds.
 * Serializable, so that a driver can send it to its executors. Uses Hadoop's own cache of file
 * systems, which Spark shares, and therefore never closes one.
 *
 * <p>Local files are read and written without Hadoop's {@code .crc} side files: other programs,
 * which do not know those, read and write the same folders.
 */
public final class HadoopFileStore implements FileStore, Serializable {
  private static final long serialVersionUID = 1L;

  private final HashMap<String, String> settings;
  private transient volatile Configuration configuration;

  private HadoopFileStore(HashMap<String, String> settings) {
    this.settings = settings;
  }

  /** With the settings that Hadoop finds on the class path ({@code core-site.xml} ...). */
  public static HadoopFileStore ofDefaults() {
    return of(List.of());
  }

  /**
   * With these settings over those of the class path: the entries of a map, or a Hadoop {@code
   * Configuration} itself, such as Spark's.
   */
  public static HadoopFileStore of(Iterable<Map.Entry<String, String>> settings) {
    HashMap<String, String> copy = new HashMap<>();
    for (Map.Entry<String, String> entry : settings) {
      copy.put(entry.getKey(), entry.getValue());
    }
    return new HadoopFileStore(copy);
  }

  @Override
  public RangeReader open(String path) {
    Path target = path(path);
    try {
      FileSystem files = fileSystem(target);
      FileStatus status = files.getFileStatus(target);
      Check.input(!status.isDirectory(), "Cannot read %s: it is a folder; name a file", target);
      return new HadoopRangeReader(target.toString(), status.getLen(), files.open(target));
    } catch (IOException e) {
      throw HadoopFaults.of("read", target, e);
    }
  }

  @Override
  public NewFile create(String path) {
    Path target = path(path);
    Path temporary =
        new Path(target.getParent(), "." + target.getName() + "." + UUID.randomUUID() + ".tmp");
    try {
      FileSystem files = fileSystem(target);
      return new HadoopNewFile(
          files, target, temporary, files.create(temporary, false /* overwrite */));
    } catch (IOException e) {
      throw HadoopFaults.of("create", target, e);
    }
  }

  @Override
  public List<FileEntry> list(String folder) {
    Path target = path(folder);
    List<FileEntry> entries = new ArrayList<>();
    try {
      FileSystem files = fileSystem(target);
      Check.input(
          files.getFileStatus(target).isDirectory(),
          "Cannot list %s: it is a file; name a folder",
          target);
      for (FileStatus status : files.listStatus(target)) {
        String name = status.getPath().getName();
        if (status.isFile() && !isTemporary(name)) {
          entries.add(
              new FileEntry(
                  status.getPath().toString(),
                  name,
                  status.getLen(),
                  status.getModificationTime()));
        }
      }
    } catch (FileNotFoundException e) {
      return List.of();
    } catch (IOException e) {
      throw HadoopFaults.of("list", target, e);
    }
    entries.sort(Comparator.comparing(FileEntry::name));
    return List.copyOf(entries);
  }

  @Override
  public OptionalLong size(String path) {
    Path target = path(path);
    try {
      FileStatus status = fileSystem(target).getFileStatus(target);
      return status.isFile() ? OptionalLong.of(status.getLen()) : OptionalLong.empty();
    } catch (FileNotFoundException e) {
      return OptionalLong.empty();
    } catch (IOException e) {
      throw HadoopFaults.of("find", target, e);
    }
  }

  @Override
  public boolean delete(String path) {
    Path target = path(path);
    try {
      FileSystem files = fileSystem(target);
      Check.input(
          files.getFileStatus(target).isFile(),
          "Cannot delete %s: it is a folder, and only files are deleted",
          target);
      return files.delete(target, false /* recursive */);
    } catch (FileNotFoundException e) {
      return false;
    } catch (IOException e) {
      throw HadoopFaults.of("delete", target, e);
    }
  }

  private static boolean isTemporary(String name) {
    return name.startsWith(".") && name.endsWith(".tmp");
  }

  private Path path(String path) {
    try {
      Path parsed = new Path(path);
      Check.input(!parsed.getName().isEmpty() || parsed.isRoot(), "Path '%s' has no name", path);
      return parsed;
    } catch (IllegalArgumentException e) {
      throw new MixedGpuException(
          Fault.BAD_INPUT, "'" + path + "' is not a path: " + e.getMessage(), e);
    }
  }

  private FileSystem fileSystem(Path path) throws IOException {
    FileSystem files = path.getFileSystem(conf());
    return files instanceof LocalFileSystem ? ((LocalFileSystem) files).getRaw() : files;
  }

  private Configuration conf() {
    Configuration built = configuration;
    if (built == null) {
      built = new Configuration();
      settings.forEach(built::set);
      configuration = built;
    }
    return built;
  }
}
