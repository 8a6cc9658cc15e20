import secagg
from tests.contracts.secure_sum import SecureSumContract


class TestHelperSum(SecureSumContract):
    def make(self, codec):
        return secagg.HelperSum(codec=codec)
