package org.mixedgpu.hetermoe.spark.exchange;

import io.netty.channel.Channel;
import java.io.IOException;
import java.util.List;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.client.TransportClient;
import org.apache.spark.network.client.TransportClientBootstrap;
import org.apache.spark.network.client.TransportClientFactory;
import org.apache.spark.network.crypto.AuthClientBootstrap;
import org.apache.spark.network.crypto.AuthServerBootstrap;
import org.apache.spark.network.sasl.SaslClientBootstrap;
import org.apache.spark.network.sasl.SaslServerBootstrap;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.server.RpcHandler;
import org.apache.spark.network.server.TransportServer;
import org.apache.spark.network.server.TransportServerBootstrap;
import org.apache.spark.network.util.TransportConf;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Server and clients of one member, with Spark's bootstraps for authentication and encryption. */
final class Transport implements AutoCloseable {
  /** What the secret belongs to, in Spark's words. One secret per run, so one name is enough. */
  private static final String APPLICATION = "hetermoe";

  private final TransportContext context;
  private final TransportServer server;
  private final TransportClientFactory clients;
  private final String host;

  Transport(String host, String secret, TransportOptions options, RpcHandler handler) {
    this.host = host;
    TransportConf conf = options.transportConf();
    SecretKeyHolder key = new RunSecret(secret);
    context = new TransportContext(conf, handler);
    TransportClientBootstrap client =
        options.encrypted()
            ? new AuthClientBootstrap(conf, APPLICATION, key)
            : new SaslClientBootstrap(conf, APPLICATION, key);
    TransportServerBootstrap guard =
        options.encrypted()
            ? new AuthServerBootstrap(conf, key)
            : new SaslServerBootstrap(conf, key);
    // Decryption makes an array of each read, so there is nothing to read in place.
    List<TransportServerBootstrap> bootstraps =
        options.encrypted() ? List.of(guard) : List.of(Transport::readInPlace, guard);
    try {
      server = listen(options, bootstraps);
    } catch (RuntimeException e) {
      context.close();
      throw e;
    }
    clients = context.createClientFactory(List.of(client));
  }

  private record RunSecret(String secret) implements SecretKeyHolder {
    @Override
    public String getSaslUser(String application) {
      return APPLICATION;
    }

    @Override
    public String getSecretKey(String application) {
      return secret;
    }

    @Override
    public String toString() {
      return "RunSecret"; // never the secret itself
    }
  }

  /** Here and not later: a connection asks once, before its first read. */
  private static RpcHandler readInPlace(Channel connection, RpcHandler handler) {
    connection.config().setRecvByteBufAllocator(new InPlaceReads());
    return handler;
  }

  private TransportServer listen(
      TransportOptions options, List<TransportServerBootstrap> bootstraps) {
    Exception last = null;
    for (int port = options.firstPort(); port <= options.lastPort(); port++) {
      try {
        return context.createServer(host, port, bootstraps);
      } catch (Exception e) { // Netty throws BindException without declaring it
        last = e;
      }
    }
    throw new MixedGpuException(
        Fault.EXHAUSTED,
        String.format(
            "Cannot listen on %s, ports %d to %d: %s; widen spark.hetermoe.exchangePorts",
            host, options.firstPort(), options.lastPort(), last == null ? "" : last.getMessage()),
        last);
  }

  PeerAddress address() {
    return new PeerAddress(host, server.getPort());
  }

  /** A new connection, authenticated. */
  TransportClient connect(int rank, PeerAddress peer) {
    try {
      return clients.createUnmanagedClient(peer.host(), peer.port());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MixedGpuException(
          Fault.MISSING, "Interrupted while connecting to rank " + rank + " at " + peer, e);
    } catch (IOException e) {
      throw new PeerLostException(
          rank, "Cannot connect to rank " + rank + " at " + peer + ": " + e.getMessage());
    } catch (RuntimeException e) {
      throw new MixedGpuException(
          Fault.MISSING,
          "Rank "
              + rank
              + " at "
              + peer
              + " did not accept the run's secret, or something else listens there: "
              + e.getMessage(),
          e);
    }
  }

  @Override
  public void close() {
    clients.close();
    server.close();
    context.close();
  }
}
