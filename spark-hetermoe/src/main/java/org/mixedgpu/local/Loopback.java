package org.mixedgpu.local;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.URLConnection;
import java.nio.charset.StandardCharsets;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Ports and pages of this machine's loopback address. */
final class Loopback {
  static final String ADDRESS = "127.0.0.1";

  private Loopback() {}

  static int freePort() {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getByName(ADDRESS))) {
      return socket.getLocalPort();
    } catch (IOException e) {
      throw new MixedGpuException(Fault.EXHAUSTED, "No free port on " + ADDRESS, e);
    }
  }

  /** The page's text, or nothing while there is no server. */
  static String fetch(String url) {
    try {
      URLConnection connection = URI.create(url).toURL().openConnection();
      connection.setConnectTimeout(2000);
      connection.setReadTimeout(5000);
      try (var in = connection.getInputStream()) {
        return new String(in.readAllBytes(), StandardCharsets.UTF_8);
      }
    } catch (IOException | UncheckedIOException e) {
      return "";
    }
  }
}
