"""The two sides of the ridge as two cases."""


def attainable(self, intensity):
    return intensity * self.bandwidth if intensity < self.ridge else self.peak_flops


def place(layer, ceilings):
    if layer.flops == 0 or layer.bytes_moved == 0 or layer.seconds == 0:
        return None
    x = layer.flops / layer.bytes_moved
    side = "memory" if x < ceilings.ridge else "compute"
    return RooflinePoint(layer.name, x, layer.flops / layer.seconds,
                         ceilings.attainable(x), side)


Ceilings.attainable = attainable
