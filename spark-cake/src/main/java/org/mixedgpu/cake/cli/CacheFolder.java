package org.mixedgpu.cake.cli;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Which cache a command looks at. */
final class CacheFolder {
  private static final String PREFIX = "spark.hadoop.";

  @Parameters(
      index = "0",
      paramLabel = "CACHE",
      description = "Folder of the cache, on any Hadoop file system. Example: hdfs:///cache/kv")
  private String path;

  @Option(
      names = "--conf",
      paramLabel = "KEY=VALUE",
      description =
          "A Hadoop setting, with or without the prefix spark.hadoop.; may be repeated. Example:"
              + " --conf fs.defaultFS=hdfs://host:9000")
  private Map<String, String> conf = new LinkedHashMap<>();

  String path() {
    return path;
  }

  FileStore files() {
    Map<String, String> settings = new HashMap<>();
    conf.forEach(
        (key, value) ->
            settings.put(key.startsWith(PREFIX) ? key.substring(PREFIX.length()) : key, value));
    return HadoopFileStore.of(settings.entrySet());
  }
}
