package org.mixedgpu.hetermoe.exchange;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.cuda.NcclCommunicator;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Finds the best way for a gang's rows that all its members have. */
public final class Exchanges {
  private static final Logger LOG = LoggerFactory.getLogger(Exchanges.class);
  private static final String CHANNEL = "facts";

  private Exchanges() {}

  /**
   * Tells all members what this one has, decides as they do, and connects; collective. Rank 0 logs
   * the decision.
   *
   * @param network connects all members through host memory; owned by the result, also when this
   *     fails
   * @param host of this process, so that GPUs of two hosts are told apart
   * @param setting see {@link ExchangeChoice#of}
   * @param flows channels whose rows are many
   * @param summing ranks that sum tensors, ascending
   * @param limit how long anything may take
   */
  public static Exchange best(
      Exchange network,
      String host,
      Backend backend,
      String setting,
      List<RowFlow> flows,
      int[] summing,
      Duration limit) {
    ExchangeChoice choice;
    try {
      choice =
          ExchangeChoice.of(
              setting,
              network.encrypted(),
              setting.equals("network")
                  ? List.of()
                  : members(network, backend, own(host, backend)));
    } catch (Throwable e) {
      try (Exchange last = network) {
        network.abort(
            "rank " + network.rank() + " could not connect: " + MixedGpuException.describe(e));
        throw e;
      }
    }
    if (network.rank() == 0) {
      LOG.info("Rows pass through {}", choice.reason());
    }
    return choice.nccl() ? NcclExchange.connect(network, backend, flows, summing, limit) : network;
  }

  private static ExchangeChoice.Member own(String host, Backend backend) {
    if (backend.kind() != BackendKind.CUDA) {
      return new ExchangeChoice.Member("", 0);
    }
    String gpu = host + " " + NcclCommunicator.busId(backend);
    try {
      return new ExchangeChoice.Member(gpu, NcclCommunicator.version());
    } catch (MixedGpuException e) {
      if (e.fault() != Fault.MISSING) {
        throw e;
      }
      LOG.info("No NCCL: {}", e.getMessage());
      return new ExchangeChoice.Member(gpu, 0, e.getMessage());
    }
  }

  private static List<ExchangeChoice.Member> members(
      Exchange network, Backend backend, ExchangeChoice.Member own) {
    Channel channel = network.channel(CHANNEL);
    List<ExchangeChoice.Member> members = new ArrayList<>();
    try (Tensor nothing = backend.allocate(DType.I32, Shape.of(1))) {
      for (int rank = 0; rank < network.size(); rank++) {
        if (rank != network.rank()) {
          channel.send(rank, encode(own), nothing.rows(0, 0));
        }
      }
      for (int rank = 0; rank < network.size(); rank++) {
        members.add(rank == network.rank() ? own : decode(channel.receive(rank, nothing).header()));
      }
    }
    return members;
  }

  static int[] encode(ExchangeChoice.Member member) {
    byte[] gpu = member.gpu().getBytes(StandardCharsets.UTF_8);
    byte[] without = member.without().getBytes(StandardCharsets.UTF_8);
    int[] words = new int[3 + (gpu.length + without.length + 3) / 4];
    ByteBuffer bytes = ByteBuffer.allocate(4 * words.length);
    bytes.putInt(member.ncclVersion()).putInt(gpu.length).putInt(without.length);
    bytes.put(gpu).put(without).rewind();
    bytes.asIntBuffer().get(words);
    return words;
  }

  static ExchangeChoice.Member decode(int[] words) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * words.length);
    bytes.asIntBuffer().put(words);
    int version = bytes.getInt();
    byte[] gpu = new byte[bytes.getInt()];
    byte[] without = new byte[bytes.getInt()];
    bytes.get(gpu).get(without);
    return new ExchangeChoice.Member(
        new String(gpu, StandardCharsets.UTF_8),
        version,
        new String(without, StandardCharsets.UTF_8));
  }
}
