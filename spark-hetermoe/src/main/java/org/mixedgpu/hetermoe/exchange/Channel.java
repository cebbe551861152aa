package org.mixedgpu.hetermoe.exchange;

import org.mixedgpu.tensor.Tensor;

/**
 * Messages between this member and each peer, in order per peer and direction. One thread sends and
 * one (it may be another) receives at a time.
 */
public interface Channel {
  /**
   * Sends a header and the rows of a tensor. Returns when the tensor may be written again, which
   * may be before the peer has received it. Does not wait for the peer's receive, within the
   * bounded memory of the connection.
   *
   * @param header a few integers, such as row counts per expert; may be empty
   * @param rows any type and shape; zero rows are a message too
   */
  void send(int peer, int[] header, Tensor rows);

  /**
   * Waits for the next message of a peer and writes its rows to the first rows of {@code into},
   * which must have the sender's type and row size and at least its rows. Fails when the peer is
   * lost, the exchange is aborted or the time limit is over.
   */
  Message receive(int peer, Tensor into);

  /**
   * Waits until a message of a peer can be received, without a time limit: for a peer whose work
   * takes as long as it takes, such as loading a model. Fails when the peer is lost or the exchange
   * is aborted.
   */
  void await(int peer);
}
