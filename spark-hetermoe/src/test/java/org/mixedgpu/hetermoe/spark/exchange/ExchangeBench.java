package org.mixedgpu.hetermoe.spark.exchange;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.exchange.Channel;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * One-way throughput of the exchange between two processes on loopback, tensor to tensor, beside a
 * raw TCP connection in the same run, buffer to buffer. Prints one line per repeat and the medians.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile dependency:build-classpath -Dmdep.outputFile=/tmp/cp
 * java --add-opens=java.base/java.nio=ALL-UNNAMED --add-modules=jdk.incubator.vector \
 *   -cp spark-hetermoe/target/test-classes:spark-hetermoe/target/classes:$(cat /tmp/cp) \
 *   org.mixedgpu.hetermoe.spark.exchange.ExchangeBench
 * </pre>
 */
public final class ExchangeBench {
  private static final int MESSAGE = 8 << 20;
  private static final int MESSAGES = 64;
  private static final int WARM_UP = 4;
  private static final int REPEATS = 5;
  private static final String SECRET = "bench-secret-bench-secret-bench!";
  private static final String HOST = "127.0.0.1";

  private final TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  private final Tensor tensor = backend.allocate(DType.F32, Shape.of(MESSAGE / 4096, 1024));
  private final Tensor small = backend.allocate(DType.F32, Shape.of(1, 1));
  private final ByteBuffer buffer = ByteBuffer.allocateDirect(MESSAGE);
  private final SparkNetworkExchange plain =
      new SparkNetworkExchange(HOST, SECRET, TransportOptions.plain(limits()));
  private final SparkNetworkExchange encrypted =
      new SparkNetworkExchange(HOST, SECRET, TransportOptions.plain(limits()).withEncryption());

  private ExchangeBench() {}

  private static ExchangeLimits limits() {
    return new ExchangeLimits(4L * MESSAGE, java.time.Duration.ofSeconds(60));
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length == 0) {
      new ExchangeBench().parent();
    } else {
      new ExchangeBench().child(arguments);
    }
  }

  private void parent() throws Exception {
    PrintStream out = System.out;
    try (ServerSocketChannel raw = ServerSocketChannel.open()) {
      raw.bind(new InetSocketAddress(HOST, 0));
      int port = ((InetSocketAddress) raw.getLocalAddress()).getPort();
      List<String> command = new ArrayList<>();
      command.add(ProcessHandle.current().info().command().orElse("java"));
      command.addAll(java.lang.management.ManagementFactory.getRuntimeMXBean().getInputArguments());
      command.addAll(List.of("-cp", System.getProperty("java.class.path")));
      command.add(ExchangeBench.class.getName());
      for (int p : new int[] {port, plain.address().port(), encrypted.address().port()}) {
        command.add("" + p);
      }
      Process child =
          new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
      try (BufferedReader answers =
              new BufferedReader(
                  new InputStreamReader(child.getInputStream(), StandardCharsets.UTF_8));
          SocketChannel connection = raw.accept()) {
        String answer = answers.readLine();
        while (answer != null && !answer.startsWith("ports ")) { // a log line
          System.err.println(answer);
          answer = answers.readLine();
        }
        String[] ports = String.valueOf(answer).substring("ports ".length()).split(" ");
        join(plain, 0, plain.address().port(), Integer.parseInt(ports[0]));
        join(encrypted, 0, encrypted.address().port(), Integer.parseInt(ports[1]));
        double[][] gigabytes = new double[3][REPEATS];
        for (int r = -WARM_UP; r < REPEATS; r++) {
          double[] now = {sendRaw(connection), send(plain), send(encrypted)};
          if (r < 0) {
            continue; // warming up
          }
          for (int i = 0; i < now.length; i++) {
            gigabytes[i][r] = now[i];
          }
          out.println(line("repeat " + (r + 1), now[0], now[1], now[2]));
        }
        for (double[] values : gigabytes) {
          Arrays.sort(values);
        }
        int middle = REPEATS / 2;
        out.println(
            line("median", gigabytes[0][middle], gigabytes[1][middle], gigabytes[2][middle]));
      }
      child.waitFor();
    }
    close();
  }

  private static String line(String name, double raw, double plain, double encrypted) {
    return String.format(
        Locale.ROOT,
        "%-9s raw TCP %.2f GB/s; exchange %.2f GB/s = %.0f %%; encrypted %.2f GB/s = %.0f %%",
        name,
        raw,
        plain,
        100 * plain / raw,
        encrypted,
        100 * encrypted / raw);
  }

  private void child(String[] ports) throws Exception {
    try (SocketChannel connection =
        SocketChannel.open(new InetSocketAddress(HOST, Integer.parseInt(ports[0])))) {
      System.out.println("ports " + plain.address().port() + " " + encrypted.address().port());
      join(plain, 1, Integer.parseInt(ports[1]), plain.address().port());
      join(encrypted, 1, Integer.parseInt(ports[2]), encrypted.address().port());
      for (int r = -WARM_UP; r < REPEATS; r++) {
        receiveRaw(connection);
        receive(plain);
        receive(encrypted);
      }
    }
    close();
  }

  private void join(SparkNetworkExchange exchange, int rank, int parent, int child) {
    exchange.join(
        rank, List.of(new PeerAddress(HOST, parent), new PeerAddress(HOST, child)), backend);
  }

  private void close() {
    plain.close();
    encrypted.close();
    tensor.close();
    small.close();
    backend.close();
  }

  private double sendRaw(SocketChannel to) throws IOException {
    long start = System.nanoTime();
    for (int i = 0; i < MESSAGES; i++) {
      buffer.clear();
      while (buffer.hasRemaining()) {
        to.write(buffer);
      }
    }
    ByteBuffer done = ByteBuffer.allocate(1);
    to.read(done);
    return (double) MESSAGES * MESSAGE / (System.nanoTime() - start);
  }

  private void receiveRaw(SocketChannel from) throws IOException {
    for (int i = 0; i < MESSAGES; i++) {
      buffer.clear();
      while (buffer.hasRemaining()) {
        if (from.read(buffer) < 0) {
          throw new IOException("ended");
        }
      }
    }
    from.write(ByteBuffer.wrap(new byte[] {1}));
  }

  private double send(SparkNetworkExchange exchange) {
    Channel channel = exchange.channel("dispatch");
    long start = System.nanoTime();
    for (int i = 0; i < MESSAGES; i++) {
      channel.send(1, new int[] {i}, tensor);
    }
    channel.receive(1, small);
    return (double) MESSAGES * MESSAGE / (System.nanoTime() - start);
  }

  private void receive(SparkNetworkExchange exchange) {
    Channel channel = exchange.channel("dispatch");
    for (int i = 0; i < MESSAGES; i++) {
      channel.receive(0, tensor);
    }
    channel.send(0, new int[0], small);
  }
}
