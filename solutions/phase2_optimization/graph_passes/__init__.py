"""The passes of the graph optimizer: one kind of rewrite per file, each with its own proof.

*Cleaning*, standard operators in and out:
    dead_code, constants, constant_folding   what nobody reads; what does not depend on the data
    identities, broadcasts, casts            what gives back its input
    common_subexpressions, duplicate_weights what is there twice
    reshapes, squeezes, reductions, shapes   shapes: targets fixed, chains merged, parts asked for
    transposes, slices, rotations, concats   moves of data: merged where they follow each other

*Fusions* into standard operators:
    norm_folding, pad_folding, linear_layer  into the weights of the layer before or behind
    matrix_products, flat_products           a product and its bias as one Gemm
    activations, gelu, layer_norm, pooling   operators that exporters write out
    index_maps, layout_detours, row_gathers, slice_partitions, channels_last
                                             chains of moves, seen as one map of indices

*For ONNX Runtime*:
    fused_conv, fused_products, bias_gelu, quick_gelu, attention, attention_parts
                                             its fused operators
    blocked_layout and blocked_*             channels in groups of as many as a register holds
"""
