package org.mixedgpu.hetermoe.exchange;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Through what the rows of a gang's messages pass. All members decide from the same facts, so that
 * they decide alike: a pure function.
 *
 * @param nccl whether from GPU to GPU; else through the host's memory
 * @param reason one line for the log
 */
public record ExchangeChoice(boolean nccl, String reason) {

  /**
   * What a member has.
   *
   * @param gpu host and PCI bus id of its GPU; empty where it has none
   * @param ncclVersion of its process, such as 22800; 0 where it can't be used
   * @param without why it can't be used; empty where it can, or nobody looked
   */
  public record Member(String gpu, int ncclVersion, String without) {
    public Member(String gpu, int ncclVersion) {
      this(gpu, ncclVersion, "");
    }
  }

  /**
   * Decides.
   *
   * @param setting {@code auto}, {@code network} or {@code nccl}
   * @param encrypted whether Spark is told to encrypt, which NCCL can't
   * @param members in rank order
   */
  public static ExchangeChoice of(String setting, boolean encrypted, List<Member> members) {
    Check.input(
        setting.matches("auto|network|nccl"),
        "Exchange '%s' is not known; use auto, network or nccl",
        setting);
    if (setting.equals("network")) {
      return new ExchangeChoice(false, "network: asked for");
    }
    List<String> against = against(encrypted, members);
    if (against.isEmpty()) {
      return new ExchangeChoice(
          true,
          String.format(
              Locale.ROOT,
              "nccl: %d members on as many GPUs, NCCL %d everywhere",
              members.size(),
              members.get(0).ncclVersion()));
    }
    if (setting.equals("nccl")) {
      throw new MixedGpuException(
          Fault.MISSING,
          "Rows can't pass through NCCL: "
              + String.join("; ", against)
              + "; change that, or set spark.hetermoe.exchange=auto");
    }
    return new ExchangeChoice(false, "network: " + String.join("; ", against));
  }

  private static List<String> against(boolean encrypted, List<Member> members) {
    List<String> against = new ArrayList<>();
    if (encrypted) {
      against.add("Spark is told to encrypt, and NCCL does not");
    }
    Map<String, Integer> owners = new LinkedHashMap<>();
    for (int rank = 0; rank < members.size(); rank++) {
      Member member = members.get(rank);
      if (member.gpu().isEmpty()) {
        against.add("rank " + rank + " has no GPU");
        continue;
      }
      Integer other = owners.putIfAbsent(member.gpu(), rank);
      if (other != null) {
        against.add("ranks " + other + " and " + rank + " share a GPU (" + member.gpu() + ")");
      }
      if (member.ncclVersion() == 0) {
        against.add(
            "rank " + rank + " has no libnccl.so.2 that can be used" + why(member, members));
      } else if (member.ncclVersion() != members.get(0).ncclVersion()) {
        against.add(
            "rank "
                + rank
                + " has NCCL "
                + member.ncclVersion()
                + ", rank 0 "
                + members.get(0).ncclVersion());
      }
    }
    if (members.size() < 2) {
      against.add("there is one member");
    }
    return against;
  }

  /** In full for the first member of this reason. */
  private static String why(Member member, List<Member> members) {
    if (member.without().isEmpty()) {
      return "";
    }
    List<String> reasons = members.stream().map(Member::without).toList();
    int first = reasons.indexOf(member.without());
    return members.get(first) == member
        ? " (" + member.without() + ")"
        : ", for the same reason as rank " + first;
  }
}
