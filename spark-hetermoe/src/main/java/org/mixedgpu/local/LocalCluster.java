package org.mixedgpu.local;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A cluster on loopback addresses of this machine: a Spark Master, Workers with unequal resources
 * and, if asked for, an HDFS of one NameNode and one DataNode, each a process of its own. {@link
 * #close} ends them all, newest first; so do the end and even the death of this process. Logs stay
 * in {@code logs/} of the work folder.
 */
public final class LocalCluster implements AutoCloseable {
  private static final Duration START = Duration.ofSeconds(180);
  private static final Pattern ALIVE = Pattern.compile("\"aliveworkers\"\\s*:\\s*(\\d+)");

  private final ClusterFiles files;
  private final Deque<Daemon> running = new ArrayDeque<>();
  private final Thread atExit = new Thread(this::stop, "local-cluster-exit");
  private final List<String> jvmOptions;
  private final String daemonHeap;
  private String masterUrl;
  private URI masterUi;
  private URI hdfs;
  private int submissions;

  private LocalCluster(Builder builder) {
    files = new ClusterFiles(builder.folder, builder.classPath);
    daemonHeap = builder.daemonHeap;
    files.checkNew();
    files.writeHome();
    jvmOptions = files.sparkJvmOptions();
    Runtime.getRuntime().addShutdownHook(atExit);
    try {
      if (builder.hdfs) {
        startHdfs();
      }
      startSpark(builder.workers);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** A cluster in a new or empty folder, on the class path of this process unless changed. */
  public static Builder in(Path folder) {
    return new Builder(folder);
  }

  /** What to start; {@link #start} returns when everything is up. */
  public static final class Builder {
    private final Path folder;
    private final List<WorkerSpec> workers = new ArrayList<>();
    private List<Path> classPath = ownClassPath();
    private String daemonHeap = "256m";
    private boolean hdfs;

    private Builder(Path folder) {
      this.folder = folder;
    }

    /** Jars and folders with Spark, this library and what runs on it. */
    public Builder classPath(List<Path> entries) {
      classPath = List.copyOf(entries);
      return this;
    }

    public Builder worker(WorkerSpec worker) {
      workers.add(worker);
      return this;
    }

    /** Adds an HDFS; the class path needs hadoop-client-minicluster. */
    public Builder hdfs() {
      hdfs = true;
      return this;
    }

    /** Heap of each daemon in the JVM's notation, 256m unless set. */
    public Builder daemonHeap(String heap) {
      daemonHeap = heap;
      return this;
    }

    public LocalCluster start() {
      return new LocalCluster(this);
    }
  }

  /** The class path of this process. */
  public static List<Path> ownClassPath() {
    return Arrays.stream(System.getProperty("java.class.path").split(java.io.File.pathSeparator))
        .filter(entry -> !entry.isEmpty())
        .map(Path::of)
        .toList();
  }

  public String masterUrl() {
    return masterUrl;
  }

  /** The Master's page; {@code json/} below it lists Workers and applications. */
  public URI masterUi() {
    return masterUi;
  }

  /** Root of the HDFS, such as {@code hdfs://127.0.0.1:41003}; empty without HDFS. */
  public Optional<URI> hdfs() {
    return Optional.ofNullable(hdfs);
  }

  /** One log per process. */
  public Path logs() {
    return files.log("x").getParent();
  }

  /**
   * Settings that an application of this cluster needs: master, class path of the executors,
   * loopback addresses, the HDFS as default file system.
   */
  public Map<String, String> conf() {
    Map<String, String> conf = new TreeMap<>();
    conf.put("spark.master", masterUrl);
    conf.put("spark.home", files.home().toString());
    conf.put("spark.driver.host", Loopback.ADDRESS);
    conf.put("spark.driver.bindAddress", Loopback.ADDRESS);
    conf.put("spark.executor.extraClassPath", files.conf() + ":" + files.folders());
    if (hdfs != null) {
      conf.put("spark.hadoop.fs.defaultFS", hdfs.toString());
    }
    return conf;
  }

  /** Runs an application as {@code spark-submit} would, in client mode, and waits for its end. */
  public Submission.Result submit(Submission submission) {
    String name;
    synchronized (this) {
      name = "submit-" + ++submissions;
    }
    Map<String, String> conf = new TreeMap<>(conf());
    conf.putAll(submission.conf());
    List<String> arguments = new ArrayList<>();
    arguments.add("--properties-file");
    arguments.add(files.writeProperties(name + ".conf", conf).toString());
    arguments.addAll(List.of("--class", submission.mainClass()));
    // Spark's own word for "the class is on the class path".
    arguments.add(submission.jar().orElse("spark-internal"));
    arguments.addAll(submission.arguments());
    String heap = conf.getOrDefault("spark.driver.memory", "1g");
    Daemon process = start(name, heap, "org.apache.spark.deploy.SparkSubmit", arguments);
    int exitCode = process.awaitExit(submission.timeout());
    synchronized (this) {
      running.remove(process);
    }
    return new Submission.Result(exitCode, process.output());
  }

  /** Ends every process, newest first, and deletes their data; the logs stay. Idempotent. */
  @Override
  public void close() {
    stop();
    try {
      Runtime.getRuntime().removeShutdownHook(atExit);
    } catch (IllegalStateException e) {
      return; // the process is ending: leave the files to whoever looks into them
    }
    files.deleteData();
  }

  private void stop() {
    List<Daemon> newestFirst;
    synchronized (this) {
      newestFirst = List.copyOf(running);
      running.clear();
    }
    newestFirst.forEach(Daemon::close);
  }

  private void startHdfs() {
    int port = Loopback.freePort();
    String http = Loopback.ADDRESS + ":" + Loopback.freePort();
    hdfs = URI.create("hdfs://" + Loopback.ADDRESS + ":" + port);
    files.writeHadoop(hdfs, http);
    String nameNode = "org.apache.hadoop.hdfs.server.namenode.NameNode";
    Daemon format = start("format", nameNode, List.of("-format", "-nonInteractive", "-force"));
    if (format.awaitExit(START) != 0) {
      throw format.failure("could not format the NameNode's folder");
    }
    String state = "http://" + http + "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";
    start("namenode", nameNode, List.of())
        .awaitReady(() -> Loopback.fetch(state).contains("\"FSState\" : \"Operational\""), START);
    start("datanode", "org.apache.hadoop.hdfs.server.datanode.DataNode", List.of())
        .awaitReady(() -> Loopback.fetch(state).contains("\"NumLiveDataNodes\" : 1"), START);
  }

  private void startSpark(List<WorkerSpec> workers) {
    int port = Loopback.freePort();
    masterUrl = "spark://" + Loopback.ADDRESS + ":" + port;
    masterUi = URI.create("http://" + Loopback.ADDRESS + ":" + Loopback.freePort() + "/");
    String deploy = "org.apache.spark.deploy.";
    Daemon master =
        start(
            "master",
            deploy + "master.Master",
            List.of(
                "--host",
                Loopback.ADDRESS,
                "--port",
                "" + port,
                "--webui-port",
                "" + masterUi.getPort(),
                "--properties-file",
                // Without this, a taken port would move the Master somewhere else in silence.
                // And its REST server has one port on all machines, which another Master may have.
                files
                    .writeProperties(
                        "master.conf",
                        Map.of("spark.port.maxRetries", "0", "spark.master.rest.enabled", "false"))
                    .toString()));
    master.awaitReady(() -> Loopback.fetch(masterUi + "json/").contains("aliveworkers"), START);
    List<Daemon> daemons = new ArrayList<>();
    for (WorkerSpec worker : workers) {
      daemons.add(
          start(
              "worker-" + worker.name(),
              deploy + "worker.Worker",
              List.of(
                  "--host",
                  Loopback.ADDRESS,
                  "--webui-port",
                  "" + Loopback.freePort(),
                  "--cores",
                  "" + worker.cores(),
                  "--memory",
                  worker.memoryMib() + "m",
                  "--work-dir",
                  files.data("worker-" + worker.name()).toString(),
                  "--properties-file",
                  files.writeWorker(worker).toString(),
                  masterUrl)));
    }
    for (int i = 0; i < daemons.size(); i++) {
      int atLeast = i + 1;
      daemons.get(i).awaitReady(() -> aliveWorkers() >= atLeast, START);
    }
  }

  private int aliveWorkers() {
    Matcher found = ALIVE.matcher(Loopback.fetch(masterUi + "json/"));
    return found.find() ? Integer.parseInt(found.group(1)) : 0;
  }

  private Daemon start(String name, String mainClass, List<String> arguments) {
    return start(name, daemonHeap, mainClass, arguments);
  }

  private Daemon start(String name, String heap, String mainClass, List<String> arguments) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(jvmOptions);
    command.addAll(List.of("-Xmx" + heap, "-XX:+UseSerialGC"));
    command.addAll(List.of("-cp", files.processClassPath(), Child.class.getName()));
    command.add("" + ProcessHandle.current().pid());
    command.add(mainClass);
    command.addAll(arguments);
    ProcessBuilder builder = new ProcessBuilder(command).directory(files.root().toFile());
    Map<String, String> environment = builder.environment();
    environment.keySet().removeIf(key -> key.startsWith("SPARK_") || key.startsWith("HADOOP_"));
    environment.put("SPARK_HOME", files.home().toString());
    environment.put("SPARK_CONF_DIR", files.conf().toString());
    environment.put("SPARK_LOCAL_IP", Loopback.ADDRESS);
    environment.put("SPARK_PUBLIC_DNS", Loopback.ADDRESS);
    // Spark's start scripts set this; without it executors can't be launched.
    environment.put("SPARK_SCALA_VERSION", "2.13");
    synchronized (this) {
      Daemon daemon = Daemon.start(name, builder, files.log(name));
      running.addFirst(daemon);
      return daemon;
    }
  }
}
