import secagg
from tests.contracts.secure_sum import SecureSumContract


class TestBfvSum(SecureSumContract):
    def make(self, codec):
        return secagg.BfvSum(codec=codec)


class TestCkksSum(SecureSumContract):
    def make(self, codec):
        return secagg.CkksSum(codec=codec)
