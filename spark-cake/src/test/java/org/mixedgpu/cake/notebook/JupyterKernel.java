package org.mixedgpu.cake.notebook;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;

/**
 * A Jupyter kernel as a process and this end of its wire protocol (version 5.3): enough to run
 * cells as Jupyter does, without Python.
 */
final class JupyterKernel implements AutoCloseable {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Duration ANSWER = Duration.ofSeconds(25);
  private static final Duration START = Duration.ofSeconds(120);
  private static final String DELIMITER = "<IDS|MSG>";

  private final String key = UUID.randomUUID().toString();
  private final String session = UUID.randomUUID().toString();
  private final Process process;
  private final ZContext context = new ZContext();
  private final ZMQ.Socket shell;
  private final ZMQ.Socket published;

  /**
   * What a cell did.
   *
   * @param status {@code ok} or {@code error}
   * @param output what it printed and its result, as text
   */
  record Reply(String status, String output) {}

  /** Starts a kernel by its start script, in this folder. */
  JupyterKernel(Path startScript, Path folder, Path connectionFile, Path log)
      throws IOException, InterruptedException {
    ObjectNode connection = JSON.createObjectNode();
    connection.put("transport", "tcp").put("ip", "127.0.0.1").put("key", key);
    connection.put("signature_scheme", "hmac-sha256").put("kernel_name", "mixedgpu");
    for (String channel : List.of("shell", "iopub", "stdin", "control", "hb")) {
      connection.put(channel + "_port", freePort());
    }
    Files.writeString(connectionFile, connection.toString());
    process =
        new ProcessBuilder(startScript.toString(), connectionFile.toString())
            .directory(folder.toFile())
            .redirectErrorStream(true)
            .redirectOutput(log.toFile())
            .start();
    try {
      int shellPort = connection.get("shell_port").asInt();
      int publishedPort = connection.get("iopub_port").asInt();
      awaitListening(shellPort);
      awaitListening(publishedPort);
      shell = context.createSocket(SocketType.DEALER);
      shell.connect("tcp://127.0.0.1:" + shellPort);
      published = context.createSocket(SocketType.SUB);
      published.subscribe("");
      published.connect("tcp://127.0.0.1:" + publishedPort);
      awaitReady();
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private void awaitListening(int port) throws InterruptedException {
    long deadline = System.nanoTime() + START.toNanos();
    while (System.nanoTime() < deadline && process.isAlive()) {
      try (Socket socket = new Socket(InetAddress.getByName("127.0.0.1"), port)) {
        return;
      } catch (IOException e) {
        Thread.sleep(200); // nobody listens yet
      }
    }
    throw new IllegalStateException("The kernel does not listen; alive: " + process.isAlive());
  }

  /** A subscription takes effect a moment after it connects: ask until an answer is published. */
  private void awaitReady() throws InterruptedException {
    long deadline = System.nanoTime() + ANSWER.toNanos();
    while (System.nanoTime() < deadline && process.isAlive()) {
      send("kernel_info_request", JSON.createObjectNode());
      published.setReceiveTimeOut(1000);
      if (receive(published) != null) {
        return;
      }
    }
    throw new IllegalStateException("The kernel is not ready; alive: " + process.isAlive());
  }

  /** Runs a cell and waits for its end. */
  Reply execute(String code, Duration limit) {
    ObjectNode content = JSON.createObjectNode();
    content.put("code", code).put("silent", false).put("store_history", true);
    content.put("allow_stdin", false).put("stop_on_error", true).putObject("user_expressions");
    String id = send("execute_request", content);
    StringBuilder output = new StringBuilder();
    String status = "ok";
    long deadline = System.nanoTime() + limit.toNanos();
    published.setReceiveTimeOut(1000);
    while (true) {
      if (System.nanoTime() > deadline || !process.isAlive()) {
        throw new IllegalStateException(
            "The cell did not end in " + limit + "; so far it printed:\n" + output);
      }
      Message message = receive(published);
      if (message == null || !id.equals(message.parent())) {
        continue;
      }
      JsonNode body = message.content();
      switch (message.type()) {
        case "stream" -> output.append(body.path("text").asText());
        case "execute_result", "display_data" ->
            output.append(body.path("data").path("text/plain").asText()).append('\n');
        case "error" -> {
          status = "error";
          output.append(body.path("ename").asText()).append(": ");
          output.append(body.path("evalue").asText()).append('\n');
          body.path("traceback").forEach(line -> output.append(line.asText()).append('\n'));
        }
        case "status" -> {
          if (body.path("execution_state").asText().equals("idle")) {
            return new Reply(status, output.toString());
          }
        }
        default -> {}
      }
    }
  }

  private record Message(String type, String parent, JsonNode content) {}

  private static Message receive(ZMQ.Socket socket) {
    byte[] frame = socket.recv();
    if (frame == null) {
      return null;
    }
    List<byte[]> frames = new ArrayList<>();
    frames.add(frame);
    while (socket.hasReceiveMore()) {
      frames.add(socket.recv());
    }
    int start = 0;
    while (!DELIMITER.equals(new String(frames.get(start), StandardCharsets.UTF_8))) {
      start++;
    }
    // delimiter, signature, header, parent header, metadata, content
    try {
      JsonNode header = JSON.readTree(frames.get(start + 2));
      JsonNode parent = JSON.readTree(frames.get(start + 3));
      return new Message(
          header.path("msg_type").asText(),
          parent.path("msg_id").asText(),
          JSON.readTree(frames.get(start + 5)));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private String send(String type, JsonNode content) {
    String id = UUID.randomUUID().toString();
    ObjectNode header = JSON.createObjectNode();
    header.put("msg_id", id).put("session", session).put("username", "test");
    header.put("date", "2026-01-01T00:00:00.000Z").put("msg_type", type).put("version", "5.3");
    List<String> parts = List.of(header.toString(), "{}", "{}", content.toString());
    shell.sendMore(DELIMITER);
    shell.sendMore(signature(parts));
    for (int i = 0; i < parts.size() - 1; i++) {
      shell.sendMore(parts.get(i));
    }
    shell.send(parts.get(parts.size() - 1));
    return id;
  }

  private String signature(List<String> parts) {
    try {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(key.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
      parts.forEach(part -> mac.update(part.getBytes(StandardCharsets.UTF_8)));
      return HexFormat.of().formatHex(mac.doFinal());
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
      return socket.getLocalPort();
    }
  }

  @Override
  public void close() {
    context.close();
    process.destroy();
    try {
      if (!process.waitFor(20, TimeUnit.SECONDS)) {
        process.destroyForcibly();
      }
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }
}
