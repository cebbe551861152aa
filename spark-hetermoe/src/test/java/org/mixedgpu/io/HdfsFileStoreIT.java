package org.mixedgpu.io;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Map;
import java.util.UUID;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.local.LocalCluster;

/** {@link HadoopFileStore} on a NameNode and a DataNode in processes of their own. */
class HdfsFileStoreIT extends FileStoreContract {
  @TempDir static Path temporary;
  private static LocalCluster cluster;
  private static FileStore files;

  private final String folder = "/" + UUID.randomUUID();

  @BeforeAll
  static void start() {
    cluster = LocalCluster.in(temporary.resolve("cluster")).hdfs().start();
    String root = cluster.hdfs().orElseThrow().toString();
    files = HadoopFileStore.of(Map.of("fs.defaultFS", root).entrySet());
  }

  @AfterAll
  static void stop() {
    if (cluster != null) {
      cluster.close();
    }
  }

  @Override
  protected FileStore files() {
    return files;
  }

  @Override
  protected String folder() {
    return folder;
  }

  @Test
  void pathsWithASchemeMeanTheSameFiles() {
    try (NewFile file = files.create(in("x"))) {
      assertThat(file.publish()).isTrue();
    }
    assertThat(files.exists(cluster.hdfs().orElseThrow() + in("x"))).isTrue();
    assertThat(files.exists("file:" + in("x"))).isFalse();
    assertThat(files.list(folder).get(0).path()).startsWith("hdfs://");
  }
}
