package org.mixedgpu.hetermoe.spark.exchange;

import java.io.Serializable;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.spark.HeterMoeConf;

/**
 * How members connect.
 *
 * @param encrypted whether messages are encrypted; authentication is not optional
 * @param firstPort lowest port to listen on; 0 leaves the choice to the system
 * @param lastPort highest port to try
 * @param queueBytes see {@link ExchangeLimits#queueBytes}
 * @param timeoutMs see {@link ExchangeLimits#timeout}
 * @param threads of the server and of the clients, each
 */
public record TransportOptions(
    boolean encrypted, int firstPort, int lastPort, long queueBytes, long timeoutMs, int threads)
    implements Serializable {
  /** Module name: Spark reads {@code spark.hetermoe.io.*} for its socket settings. */
  private static final String MODULE = "hetermoe";

  /**
   * Always this one: the GCM decoder of Spark 4.1.0 handles one message per connection, then waits
   * for ever. CTR hides contents and does not detect changed bytes.
   */
  private static final String CIPHER = "AES/CTR/NoPadding";

  public TransportOptions {
    Check.input(
        firstPort == 0 && lastPort == 0 || firstPort > 0 && firstPort <= lastPort,
        "The exchange's ports are %d to %d; use 0 to 0 for any, or an ascending range",
        firstPort,
        lastPort);
    Check.input(threads > 0, "The exchange needs threads; found %d", threads);
  }

  /** Options without encryption, on any port. */
  public static TransportOptions plain(ExchangeLimits limits) {
    return new TransportOptions(
        false, 0, 0, limits.queueBytes(), limits.timeout().toMillis(), cores());
  }

  /**
   * Encrypted where any setting tells Spark to encrypt what passes between its processes: {@code
   * spark.network.crypto.enabled}, {@code spark.authenticate.enableSaslEncryption}, {@code
   * spark.io.encryption.enabled} or {@code spark.ssl.rpc.enabled}. In all these cases Spark's AES
   * engine does it, keyed by the run's secret, which travelled through Spark's RPC and is as secret
   * as that.
   */
  public static TransportOptions of(SparkConf conf, ExchangeLimits limits) {
    boolean encrypted =
        conf.getBoolean("spark.network.crypto.enabled", false)
            || conf.getBoolean("spark.authenticate.enableSaslEncryption", false)
            || conf.getBoolean("spark.io.encryption.enabled", false)
            || conf.getBoolean("spark.ssl.rpc.enabled", false);
    TransportOptions options = plain(limits);
    return new TransportOptions(
            encrypted, 0, 0, options.queueBytes, options.timeoutMs, options.threads)
        .withPorts(
            HeterMoeConf.EXCHANGE_PORTS.value(conf.get(HeterMoeConf.EXCHANGE_PORTS.key(), "")));
  }

  /** The same with a range such as {@code 40000-40099}; empty text for any port. */
  TransportOptions withPorts(String range) {
    if (range.isBlank()) {
      return this;
    }
    String[] ends = range.strip().split("-");
    return new TransportOptions(
        encrypted,
        Integer.parseInt(ends[0]),
        Integer.parseInt(ends[1]),
        queueBytes,
        timeoutMs,
        threads);
  }

  public TransportOptions withEncryption() {
    return new TransportOptions(true, firstPort, lastPort, queueBytes, timeoutMs, threads);
  }

  TransportConf transportConf() {
    Map<String, String> settings = new LinkedHashMap<>();
    settings.put("spark.authenticate", "true");
    settings.put("spark.network.crypto.enabled", Boolean.toString(encrypted));
    // A peer that can't do AES is not one of ours: never fall back to the weaker handshake.
    settings.put("spark.network.crypto.saslFallback", "false");
    settings.put("spark.network.crypto.authEngineVersion", "2");
    settings.put("spark.network.crypto.cipher", CIPHER);
    // The library's own 8 KiB is many calls. Of 32, 64, 128 and 256 KiB, 128 was the fastest.
    settings.put("spark.network.crypto.config.stream.buffer.size", "" + (128 << 10));
    settings.put("spark." + MODULE + ".io.serverThreads", "" + threads);
    settings.put("spark." + MODULE + ".io.clientThreads", "" + threads);
    // A connection may be idle as long as a step takes; peers are watched by the rendezvous.
    settings.put("spark." + MODULE + ".io.connectionTimeout", (timeoutMs + 60_000) + "ms");
    settings.put("spark." + MODULE + ".io.connectionCreationTimeout", "20s");
    return new TransportConf(MODULE, new MapConfigProvider(settings));
  }

  private static int cores() {
    return Math.max(2, Math.min(8, Runtime.getRuntime().availableProcessors()));
  }
}
