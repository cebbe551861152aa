package org.mixedgpu.backend.cuda;

/**
 * The kernels that attention consists of; a variant's file compiles one by its name as a define.
 */
enum AttentionPass {
  FORWARD("attentionForward"),
  BACKWARD_QUERIES("attentionBackwardQueries"),
  BACKWARD_KEYS("attentionBackwardKeys");

  private final String function;

  AttentionPass(String function) {
    this.function = function;
  }

  String function() {
    return function;
  }
}
