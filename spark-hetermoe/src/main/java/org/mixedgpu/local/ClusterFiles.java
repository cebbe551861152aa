package org.mixedgpu.local;

import java.io.IOException;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** The folder of a cluster: Spark's home, configuration, logs and data. */
final class ClusterFiles {
  private final Path root;
  private final List<Path> classPath;

  ClusterFiles(Path root, List<Path> classPath) {
    this.root = root.toAbsolutePath().normalize();
    this.classPath = classPath.stream().map(p -> p.toAbsolutePath().normalize()).toList();
  }

  Path root() {
    return root;
  }

  Path home() {
    return root.resolve("home");
  }

  Path conf() {
    return root.resolve("conf");
  }

  Path log(String daemon) {
    return root.resolve("logs").resolve(daemon + ".log");
  }

  Path data(String daemon) {
    return root.resolve("data").resolve(daemon);
  }

  /** The folders of the class path; jars are reached through Spark's home. */
  String folders() {
    return classPath.stream()
        .filter(Files::isDirectory)
        .map(Path::toString)
        .collect(Collectors.joining(java.io.File.pathSeparator));
  }

  /** The class path of every process: configuration, folders, all jars. */
  String processClassPath() {
    String jars = home().resolve("jars") + "/*";
    String folders = folders();
    return String.join(
        java.io.File.pathSeparator,
        folders.isEmpty()
            ? List.of(conf().toString(), jars)
            : List.of(conf().toString(), folders, jars));
  }

  private Path jar(String prefix) {
    return classPath.stream()
        .filter(p -> p.getFileName().toString().startsWith(prefix))
        .findFirst()
        .orElseThrow(
            () ->
                new MixedGpuException(
                    Fault.MISSING,
                    "The class path of the local cluster has no "
                        + prefix
                        + "*.jar; add Spark's jars and, for HDFS, hadoop-client-minicluster"));
  }

  /** Module options that this Spark version wants, asked of its own launcher. */
  List<String> sparkJvmOptions() {
    Path launcher = jar("spark-launcher_");
    try (URLClassLoader loader = new URLClassLoader(new URL[] {launcher.toUri().toURL()})) {
      Object options =
          loader
              .loadClass("org.apache.spark.launcher.JavaModuleOptions")
              .getMethod("defaultModuleOptions")
              .invoke(null);
      return Arrays.stream(options.toString().trim().split("\\s+")).toList();
    } catch (IOException | ReflectiveOperationException e) {
      throw new MixedGpuException(
          Fault.MISSING, "Cannot read the JVM options of this Spark version from " + launcher, e);
    }
  }

  /** Spark wants its jars in one folder below SPARK_HOME: links to those of the class path. */
  void writeHome() {
    Path jars = home().resolve("jars");
    try {
      Files.createDirectories(jars);
      Files.createDirectories(conf());
      int index = 0;
      for (Path entry : classPath) {
        index++;
        if (Files.isRegularFile(entry) && entry.toString().endsWith(".jar")) {
          Path link = jars.resolve(entry.getFileName());
          if (Files.exists(link)) {
            link = jars.resolve(index + "-" + entry.getFileName());
          }
          Files.createSymbolicLink(link, entry);
        }
      }
      Files.writeString(
          conf().resolve("log4j2.properties"),
          String.join(
              "\n",
              "rootLogger.level = info",
              "rootLogger.appenderRef.stderr.ref = stderr",
              "appender.stderr.type = Console",
              "appender.stderr.name = stderr",
              "appender.stderr.target = SYSTEM_ERR",
              "appender.stderr.layout.type = PatternLayout",
              "appender.stderr.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n%ex",
              ""));
    } catch (IOException e) {
      throw new MixedGpuException(Fault.EXHAUSTED, "Cannot prepare " + root, e);
    }
  }

  void writeHadoop(URI hdfs, String nameNodeHttp) {
    writeXml("core-site.xml", Map.of("fs.defaultFS", hdfs.toString()));
    Map<String, String> site = new LinkedHashMap<>();
    site.put("dfs.replication", "1");
    site.put("dfs.namenode.rpc-address", hdfs.getAuthority());
    site.put("dfs.namenode.http-address", nameNodeHttp);
    site.put("dfs.namenode.name.dir", data("namenode").toUri().toString());
    site.put("dfs.namenode.handler.count", "4");
    // Loopback addresses have no reverse name on some machines.
    site.put("dfs.namenode.datanode.registration.ip-hostname-check", "false");
    site.put("dfs.datanode.data.dir", data("datanode").toUri().toString());
    site.put("dfs.datanode.address", "127.0.0.1:0");
    site.put("dfs.datanode.http.address", "127.0.0.1:0");
    site.put("dfs.datanode.ipc.address", "127.0.0.1:0");
    site.put("dfs.datanode.handler.count", "4");
    writeXml("hdfs-site.xml", site);
  }

  Path writeWorker(WorkerSpec worker) {
    Map<String, String> properties = new TreeMap<>();
    String resources =
        worker.resources().entrySet().stream()
            .map(
                r ->
                    "{\"id\":{\"componentName\":\"spark.worker\",\"resourceName\":\""
                        + r.getKey()
                        + "\"},\"addresses\":[\""
                        + String.join("\",\"", r.getValue())
                        + "\"]}")
            .collect(Collectors.joining(",", "[", "]"));
    Path file = conf().resolve(worker.name() + "-resources.json");
    write(file, resources);
    if (!worker.resources().isEmpty()) {
      properties.put("spark.worker.resourcesFile", file.toString());
    }
    worker
        .resources()
        .forEach(
            (name, addresses) ->
                properties.put("spark.worker.resource." + name + ".amount", "" + addresses.size()));
    return writeProperties(worker.name() + ".conf", properties);
  }

  Path writeProperties(String name, Map<String, String> properties) {
    Path file = conf().resolve(name);
    write(
        file,
        properties.entrySet().stream()
            .map(e -> e.getKey() + " " + e.getValue() + "\n")
            .collect(Collectors.joining()));
    return file;
  }

  private void writeXml(String name, Map<String, String> properties) {
    write(
        conf().resolve(name),
        properties.entrySet().stream()
            .map(
                e ->
                    "<property><name>"
                        + e.getKey()
                        + "</name><value>"
                        + e.getValue().replace("&", "&amp;").replace("<", "&lt;")
                        + "</value></property>\n")
            .collect(Collectors.joining("", "<configuration>\n", "</configuration>\n")));
  }

  private static void write(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw new MixedGpuException(Fault.EXHAUSTED, "Cannot write " + file, e);
    }
  }

  /** Removes data and links and keeps the logs. */
  void deleteData() {
    deleteTree(root.resolve("data"));
    deleteTree(home());
  }

  private static void deleteTree(Path tree) {
    if (!Files.exists(tree)) {
      return;
    }
    try {
      Files.walkFileTree(
          tree,
          new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
                throws IOException {
              Files.delete(file);
              return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path folder, IOException e)
                throws IOException {
              Files.delete(folder);
              return FileVisitResult.CONTINUE;
            }
          });
    } catch (IOException e) {
      throw new MixedGpuException(Fault.UNKNOWN_OUTCOME, "Cannot delete all of " + tree, e);
    }
  }

  void checkNew() {
    Check.input(
        !Files.exists(home()),
        "%s already holds a local cluster; close that one, or give another folder",
        root);
  }
}
