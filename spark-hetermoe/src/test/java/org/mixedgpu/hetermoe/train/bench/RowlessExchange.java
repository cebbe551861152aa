package org.mixedgpu.hetermoe.train.bench;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.hetermoe.exchange.Channel;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.hetermoe.exchange.RowFlow;
import org.mixedgpu.hetermoe.train.ZebraMember;
import org.mixedgpu.tensor.Tensor;

/**
 * What training does if its exchange takes no time: of what is dispatched and combined the header
 * and one row pass, and the receiver gets random rows, from its own memory. So all computing is
 * done, in the usual order, on numbers of the usual size. For timings only.
 */
final class RowlessExchange implements Exchange {
  private static final List<String> FLOWS =
      ZebraMember.flows(1, 2).stream().map(RowFlow::channel).toList();

  private final Exchange host;
  private final Backend backend;
  private final Map<String, RowlessChannel> channels = new ConcurrentHashMap<>();

  /**
   * @param host is closed with this one
   */
  RowlessExchange(Exchange host, Backend backend) {
    this.host = host;
    this.backend = backend;
  }

  private final class RowlessChannel implements Channel, AutoCloseable {
    private final Channel headers;
    private final DeviceData data = new DeviceData(backend);
    private Tensor random;

    RowlessChannel(Channel headers) {
      this.headers = headers;
    }

    @Override
    public void send(int peer, int[] header, Tensor rows) {
      int[] extended = Arrays.copyOf(header, header.length + 1);
      extended[header.length] = Math.toIntExact(rows.shape().rows());
      // One row, which is read: so the message leaves when the rows are computed.
      headers.send(peer, extended, rows.rows(0, Math.min(1, rows.shape().rows())));
    }

    @Override
    public Message receive(int peer, Tensor into) {
      Message message = headers.receive(peer, into);
      int[] header = Arrays.copyOf(message.header(), message.header().length - 1);
      int rows = message.header()[header.length];
      if (random == null || random.shape().rows() < rows) {
        random = data.real(rows, into.shape().dim(1));
      }
      backend.copy(into.rows(0, rows), random.rows(0, rows));
      return new Message(header, rows);
    }

    @Override
    public void await(int peer) {
      headers.await(peer);
    }

    @Override
    public void close() {
      data.close();
    }
  }

  @Override
  public int rank() {
    return host.rank();
  }

  @Override
  public int size() {
    return host.size();
  }

  @Override
  public boolean encrypted() {
    return host.encrypted();
  }

  @Override
  public Channel channel(String name) {
    return FLOWS.contains(name)
        ? channels.computeIfAbsent(name, key -> new RowlessChannel(host.channel(key)))
        : host.channel(name);
  }

  @Override
  public void abort(String reason) {
    host.abort(reason);
  }

  @Override
  public void whenBroken(Consumer<String> listener) {
    host.whenBroken(listener);
  }

  @Override
  public void close() {
    channels.values().forEach(RowlessChannel::close);
    host.close();
  }
}
