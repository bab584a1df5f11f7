"""Write ``zoo/digits.npz``: the handwritten digits, so that nobody else needs scikit-learn.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998 (CC BY 4.0), as carried by ``sklearn.datasets.load_digits``: 1,797
images of 8x8 pixels, 0..16.

    python -m zoo.training.extract_digits
"""

import numpy as np
from sklearn.datasets import load_digits

from zoo.digits import FILE


def main() -> None:
    data = load_digits()
    np.savez_compressed(
        FILE, images=data.images.astype(np.uint8), labels=data.target.astype(np.uint8)
    )
    print(f"{FILE}: {len(data.target)} digits, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
